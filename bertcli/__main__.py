"""`python -m bertcli`: the same program as the `bertcli` command."""

from bertcli.cli.main import main

if __name__ == "__main__":
    main()
