import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "endpoint"))  # endpoint_double.py
