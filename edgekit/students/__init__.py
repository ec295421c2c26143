"""Students: smaller models of the source's family: shapes that fit, told without weights, and weights cut to them."""

from __future__ import annotations

from edgekit.students.fitting import INT8, Q4_K_M, Q8_0, Budget, Packing, Student, fitting

__all__ = ["INT8", "Q4_K_M", "Q8_0", "Budget", "Packing", "Student", "fitting"]
