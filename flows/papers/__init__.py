"""Papers of a version, from what is recorded: model card, bill of materials, evidence. Start in `bundle`."""
