"""Applications of several services, deployed on this machine to be measured and steered.

with Deployment(load(Path("app.yaml")), Path("examples/social_network"), run) as app:
    app.urls("frontend"), app.group("frontend"), app.scale("text", 2), app.usage()
"""

from __future__ import annotations

from vagus.cli.application.deployment import Deployment
from vagus.cli.application.reading import load

__all__ = ["Deployment", "load"]
