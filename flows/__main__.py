"""`python -m flows` is the command `counterpoise`."""

from flows.guard import main

main()
