"""The student path of the lab, stage by stage (section 2 of its contract)."""
