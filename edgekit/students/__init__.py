"""Students: smaller models of the source's family: shapes told without weights, and weights cut to them."""
