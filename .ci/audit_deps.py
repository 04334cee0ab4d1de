"""`audit_deps.py PIP_AUDIT LOCK`: which packages of a lock have known vulnerabilities, as PyPI's advisories say.

Exit code 0: none; 1: some, or some packages were not looked up; 2: the service cannot be reached, so nothing is known.
pip-audit alone calls a lock clean of which the service knows no package.
"""

import json
import subprocess
import sys

OPTIONS = ("--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off")


def main(pip_audit: str, lock: str) -> int:
    """Print what was found, and give the exit code."""
    done = subprocess.run([pip_audit, *OPTIONS, "--requirement", lock], capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        packages = []
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        reasons = [*done.stderr.splitlines(), *(package["skip_reason"] for package in packages[:1])]
        print(f"nothing was audited, as the service of advisories cannot be reached: {(reasons or ['?'])[-1]}")
        return 2
    missed = sorted(package["name"] for package in packages if "vulns" not in package)
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in audited
        for flaw in package["vulns"]
    ]
    print(*found, *(f"{name}: was not looked up" for name in missed), sep="\n", end="\n" * bool(found or missed))
    print(f"{len(audited)} packages audited, {len(found)} known vulnerabilities")
    return int(bool(found or missed))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
