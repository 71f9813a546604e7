"""`python -m bert_mobile`: the command line, as launchers such as `torchrun -m` start it."""

from bert_mobile.cli import main

if __name__ == "__main__":
    main()
