def record(*a):
    return ""
