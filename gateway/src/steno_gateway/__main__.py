"""`python -m steno_gateway`.

Separate because Python runs this file of a package by its name.
"""

from steno_gateway.main import main

main()
