"""`python -m ws402`: the command where no script of that name is on the path, as in the container images."""

from ws402.cli import main

main()
