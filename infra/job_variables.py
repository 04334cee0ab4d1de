"""`job_variables.py PROJECT`: give the deployments of a project the job variables of infra/kubernetes/jobs.

What a deployment has already, such as its environment, stays unless a file says otherwise.
"""

import json
import sys
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.exceptions import ObjectNotFound

JOBS = Path(__file__).parent / "kubernetes" / "jobs"


def main(project: str) -> None:
    """Update each deployment that there is, and say what became of each file."""
    with get_client(sync_client=True) as client:
        for path in sorted(JOBS.glob("rlhf-*.json")):
            name = f"{path.stem}/{project}"
            try:
                deployment = client.read_deployment_by_name(name)
            except ObjectNotFound:
                print(f"{name}: there is no such deployment")
                continue
            variables = {**(deployment.job_variables or {}), **json.loads(path.read_text())}
            client.update_deployment(deployment.id, DeploymentUpdate(job_variables=variables))
            print(f"{name}: {path.name}")


if __name__ == "__main__":
    main(sys.argv[1])
