"""Networks: what they are built of, how they lie on disk, and how they predict."""

import sys

# Without this package, OpenVINO and NNCF send nothing. With it, they report each use to Google, and do not ask. Both
# look for it when they are imported, and only modules of this package import them.
sys.modules["openvino_telemetry"] = None
