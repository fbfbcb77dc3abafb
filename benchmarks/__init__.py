from rtl.cli import quiet_imports

quiet_imports()
