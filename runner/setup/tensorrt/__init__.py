"""The setup step `tensorrt`: typed graph on this machine, engine and trial run in the target, comparison here."""
