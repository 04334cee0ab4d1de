"""Draws: of each line of standard input, a specification of Vega-Lite, a line of JSON with its SVG."""

import json
import sys

import vl_convert

if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(vl_convert.vegalite_to_svg(json.loads(line))), flush=True)
