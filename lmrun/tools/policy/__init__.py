"""The permission gate outside the model: rules, taint, questions, the audit log."""
