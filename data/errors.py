"""What a user can cause and mend: one sentence that says what, where and what to do."""


class UserError(Exception):
    """A fault in the input, the plan or the surroundings that the user can mend; the command line exits with 2."""

    exit_code = 2


class DataError(UserError):
    """The data cannot be read or used; the sentence names the file, row or column."""


class PublishError(UserError):
    """The dataset could not be published; nothing half-written is left behind."""
