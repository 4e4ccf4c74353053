"""What evaluations measure beside probes and bounds: in results, table and warnings."""

from tf_infomax.evaluation.summary import describe
from tf_infomax.reporting import report


def test_results_stand_in_a_table_with_their_warnings(capsys):
    of_code = describe([0.5, 0.7], "%", "share told right", warnings=["few", "few"])
    of_conv = describe([0.9], "%", "share told right", warnings=["few"])
    results = {
        "told/1%/code": of_code,
        "told/1%/conv": of_conv,
        "dependence/code": describe([21.37, 23.37], "nats", "a bound", ceiling=30.0),
        "speed": describe([0.1234], "s", "seconds", facts=3),
        "mi/local": {"measures": "of the objective", "kind": "mi", "mean": 1.0},
        "health/std_mean": {"mean": 1.0, "sd": None, "n": 1, "images": 3},
    }
    report.print_measures(results)
    shown = capsys.readouterr().out
    lines = {
        line.split("│")[1].strip(): line for line in shown.splitlines() if "│" in line
    }
    assert set(lines) == {"told/1%", "dependence", "speed"}
    assert "90.0" in lines["told/1%"]
    assert "60.0 ± 14.1" in lines["told/1%"]
    assert "22.4 ± 1.4" in lines["dependence"]
    assert "nats, at most 30.000" in lines["dependence"]
    assert "0.123" in lines["speed"]
    assert shown.count("few") == 1
    assert "warning: told/1%/code, told/1%/conv: few" in shown
    report.print_measures({"mi/local": results["mi/local"]})
    assert capsys.readouterr().out == ""
