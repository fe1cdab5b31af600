"""The commands of the command line, one module per group; `podium.cli` assembles them."""
