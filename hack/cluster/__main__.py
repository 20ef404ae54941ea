"""`python3 -m hack.cluster up|down|status|kubeconfig|load`."""

from __future__ import annotations

import argparse
import sys

from hack import cluster, steps
from hack.airgapped import dockerd
from hack.cluster import lifecycle


def _main() -> int:
    parser = argparse.ArgumentParser(prog="hack.cluster", description=cluster.__doc__)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=cluster.DEFAULT_NAME, help="the cluster's name (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", parents=[named], help="bring the cluster up; a healthy one is used as it is")
    down = commands.add_parser("down", parents=[named], help="delete the cluster")
    down.add_argument("--all", action="store_true", help="also the images")
    status = commands.add_parser("status", parents=[named], help="say what runs where; exit 1 when not ready")
    status.add_argument("--json", action="store_true")
    commands.add_parser("kubeconfig", parents=[named], help="print the kubeconfig's path")
    load = commands.add_parser("load", parents=[named], help="put local images onto the node")
    load.add_argument("images", nargs="+", metavar="IMAGE")
    arguments = parser.parse_args()
    match arguments.command:
        case "up":
            print(lifecycle.show(cluster.up(arguments.name), as_json=False))
        case "down":
            cluster.down(arguments.name, everything=arguments.all)
        case "status":
            found = cluster.info(arguments.name)
            print(lifecycle.show(found, as_json=arguments.json))
            return 0 if found.ready else 1
        case "kubeconfig":
            print(cluster.kubeconfig(arguments.name))
        case _:
            dockerd.ensure()
            for image in arguments.images:
                cluster.load(image, cluster.Cluster(arguments.name))
    return 0


if __name__ == "__main__":
    sys.exit(steps.main(_main))
