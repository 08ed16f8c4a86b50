"""The path of a student, stage by stage, and the tests that continue on the running lab."""
