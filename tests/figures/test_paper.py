"""The ECG on paper: layouts and scales, that nothing collides, and what the header says."""

from itertools import combinations

import numpy as np
import pytest

from modeling_enecg.evaluation.fiducials import Delineation
from modeling_enecg.evaluation.median_beat import median_beat
from modeling_enecg.figures.beat_marks import marks_of
from modeling_enecg.figures.ecg_header import Measured, finding_lines, record_lines
from modeling_enecg.figures.explained_ecg import Explained, wash_of
from modeling_enecg.figures.paper import GAINS, LAYOUTS, Paper
from modeling_enecg.figures.paper_ecg import plot_ecg
from modeling_enecg.figures.recording import Print, plot_recording
from modeling_enecg.findings import Findings
from modeling_enecg.leads import STANDARD_LEADS
from modeling_enecg.recording import ECGRecord, Metadata
from modeling_enecg.signal_quality import SignalQuality
from tests.helpers.explaining import BEAT_S, beats

RATE = 250
PEAKS = np.arange(BEAT_S / 2, 10, BEAT_S)


def traces(figure):
    """The lines of the leads, whose number of samples no calibration pulse has."""
    return [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 6]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def names(figure):
    """The leads' names in the order of their rows and columns."""
    shown = [text for text in figure.axes[0].texts if text.get_weight() == "bold" and text.get_size() == 9]
    return [text.get_text() for text in shown]


def box(line):
    """Left, right, bottom and top of a trace, in mm."""
    x, y = line.get_xydata().T
    return x.min(), x.max(), np.nanmin(y), np.nanmax(y)


def collide(one, other):
    """Whether two traces that share some time meet, over the moments that they share."""
    (left, right, *_), (other_left, other_right, *_) = box(one), box(other)
    start, end = max(left, other_left), min(right, other_right)
    if end <= start:
        return False
    spans = []
    for line in (one, other):
        x, y = line.get_xydata().T
        inside = y[(x >= start) & (x <= end)]
        spans.append((np.nanmin(inside), np.nanmax(inside)))
    (low, high), (other_low, other_high) = spans
    return not (high < other_low or other_high < low)


def text_boxes(figure):
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    return [np.array([each.x0, each.x1, each.y0, each.y1]) / figure.dpi * 25.4 for each in boxes]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("3x4", "I aVR V1 V4 II aVL V2 V5 III aVF V3 V6 II"),
        ("6x2", "I V1 II V2 III V3 aVR V4 aVL V5 aVF V6"),
        ("12x1", "I II III aVR aVL aVF V1 V2 V3 V4 V5 V6"),
        ("cabrera", "aVL V1 I V2 −aVR V3 II V4 aVF V5 III V6"),
    ],
)
def test_each_layout_has_its_leads_in_place(layout, expected):
    figure = plot_ecg(beats(10, RATE).signal_mv, RATE, STANDARD_LEADS, paper=Paper(layout))
    assert names(figure) == expected.split()


def test_cabrera_turns_avr_upside_down_and_six_limb_leads_have_its_order():
    record = beats(10, RATE)
    places = {name: place for place, name in enumerate(names(plot_ecg(record.signal_mv, RATE, STANDARD_LEADS)))}
    upright = traces(plot_ecg(record.signal_mv, RATE, STANDARD_LEADS, paper=Paper("6x2")))[6].get_ydata()
    turned = traces(plot_ecg(record.signal_mv, RATE, STANDARD_LEADS, paper=Paper("cabrera")))[4].get_ydata()
    assert (upright - upright[0]) == pytest.approx(-(turned - turned[0]))
    assert places["aVR"] == 1
    figure = plot_ecg(record.signal_mv[:6], RATE, STANDARD_LEADS[:6], paper=Paper("cabrera"))
    assert names(figure) == ["aVL", "I", "−aVR", "II", "aVF", "III"]


def test_other_leads_have_rows_below_the_twelve():
    signal = np.vstack([beats(10, RATE).signal_mv, np.zeros((1, 10 * RATE))])
    assert names(plot_ecg(signal, RATE, [*STANDARD_LEADS, "V7"]))[-2:] == ["II", "V7"]


@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("speed", [25.0, 50.0])
def test_speed_and_gain_are_drawn_and_written(speed, gain):
    signal = np.zeros((1, RATE + 1))
    signal[0, RATE // 2] = 1
    figure = plot_ecg(signal, RATE, ["I"], paper=Paper("3x4", speed, gain))
    left, right, bottom, top = box(traces(figure)[0])
    assert (right - left, top - bottom) == pytest.approx((speed, gain))
    (pulse,) = (line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 6)
    x, y = pulse.get_xydata().T
    assert (np.ptp(x[y == y.max()]), np.ptp(y)) == pytest.approx((0.2 * speed, gain))
    assert f"{speed:g} mm/s · {gain:g} mm/mV · {RATE} Hz" in texts(figure)


def test_the_paper_says_that_it_holds_the_beginning_alone():
    record = beats(58, RATE)
    figure = plot_ecg(record.signal_mv, RATE, STANDARD_LEADS, paper=Paper("12x1", 50))
    assert len(traces(figure)[0].get_xdata()) == 5 * RATE
    assert "50 mm/s · 10 mm/mV · 250 Hz · the first 5 s of 58.0 s" in texts(figure)
    assert not any("first" in text for text in texts(plot_ecg(record.signal_mv[:, :2500], RATE, STANDARD_LEADS)))


@pytest.mark.parametrize(("field", "value"), [("layout", "4x3"), ("mm_per_second", 20.0), ("mm_per_mv", 15.0)])
def test_unknown_paper_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be one of .*; got {value!r}"):
        Paper(**{field: value})


def tall(kind):
    record = beats(10, RATE)
    if kind == "tall":
        record.signal_mv[6:] *= -4  # S waves down to 6 mV
        record.signal_mv[3] *= 5
    if kind == "artefacts":
        record.signal_mv[0, 100:140] += 50
        record.signal_mv[4, 700:800] -= 50
        record.signal_mv[8, 1500:1510] = 50
        record.signal_mv[11] = np.nan
    return record


@pytest.mark.parametrize(("layout", "gain"), [*((layout, 10.0) for layout in LAYOUTS), ("3x4", 20.0)])
@pytest.mark.parametrize("kind", ["tall", "artefacts"])
def test_leads_meet_neither_each_other_nor_a_text(kind, layout, gain):
    record = tall(kind)
    beat = median_beat(record.signal_mv, RATE, PEAKS)
    figure = plot_ecg(
        record.signal_mv,
        RATE,
        STANDARD_LEADS,
        title="A title",
        lines=["A line"],
        paper=Paper(layout, 25, gain),
        beat=beat,
    )
    drawn = [line for line in traces(figure) if np.isfinite(line.get_ydata()).any()]
    assert not [pair for pair in combinations(drawn, 2) if collide(*pair)]
    written = text_boxes(figure)
    for left, right, bottom, top in written:
        for line in drawn:
            x, y = line.get_xydata().T
            near = y[(x >= left) & (x <= right)]
            assert not ((near > bottom) & (near < top)).any()
    for (left, right, bottom, top), (x0, x1, y0, y1) in combinations(written, 2):
        assert right <= x0 or x1 <= left or top <= y0 or y1 <= bottom


def test_where_the_pen_stops_a_note_says_how_far_the_lead_goes():
    figure = plot_ecg(tall("artefacts").signal_mv, RATE, STANDARD_LEADS)
    notes = [text for text in texts(figure) if text[0] in "▲▼"]
    assert [note[0] for note in notes] == ["▲", "▼", "▲"]
    assert all(45 < abs(float(note[2:-3].replace("−", "-"))) < 55 for note in notes)
    assert max(np.ptp(line.get_ydata()) for line in traces(figure)[:12]) < 125
    assert not [text for text in texts(plot_ecg(beats(10, RATE).signal_mv, RATE, STANDARD_LEADS)) if text[0] in "▲▼"]


def test_median_beats_are_drawn_with_the_r_peak_as_measured():
    record = beats(10, RATE)
    figure = plot_recording(record, Print(beats=PEAKS))
    drawn = traces(figure)[13:]
    assert len(drawn) == 12
    marks = [
        segments[0][0, 0] for lines in figure.axes[0].collections[5:] if len(segments := lines.get_segments()) == 1
    ]
    for line in drawn:
        highest = line.get_xdata()[line.get_ydata().argmax()]
        assert min(abs(mark - highest) for mark in marks) < 0.2  # mm: two samples
    assert any(text.startswith("Median beat of 12 of the 12 whole beats") for text in texts(figure))
    assert not any(text.startswith("Median beat") for text in texts(plot_recording(record, Print())))


def test_waves_of_the_median_beat_are_marked_where_they_were_delineated():
    record = beats(10, RATE)
    found = Delineation({"QRS onset": -0.04, "QRS end": 0.04, "T peak": 0.25, "T end": 0.35})
    figure = plot_recording(record, Print(beats=PEAKS, marks=marks_of(found)))
    (caption,) = (text for text in texts(figure) if text.startswith("Median beat"))
    assert caption.endswith("dotted: bounds of QRS and T by neurokit2, all leads together; dots: peaks")
    dots = [line.get_xydata()[0] for line in figure.axes[0].get_lines() if line.get_marker() == "o"]
    drawn = traces(figure)[13:]
    assert len(dots) == len(drawn) == 12
    for (x, y), line in zip(dots, drawn, strict=True):
        t_wave = line.get_xydata()[line.get_xdata() > x - 2]
        assert t_wave[t_wave[:, 1].argmax()] == pytest.approx((x, y), abs=0.3)  # mm
    plain = plot_recording(record, Print(beats=PEAKS))
    lines = [len(each.axes[0].collections) for each in (figure, plain)]
    assert lines[0] - lines[1] == 3 * 12
    assert marks_of(Delineation(why_not="that needs neurokit2")).caption == "no waves marked: that needs neurokit2"


METADATA = Metadata(
    patient_id="4711", age_years=93, sex="female", heart_rate_bpm=71, pr_ms=160, qtc_ms=431, t_axis_deg=40
)


def test_the_header_tells_machine_from_measured():
    record = ECGRecord(np.zeros((2, 5000)), 500, ["I", "II"], METADATA)
    first, second = record_lines(record, Measured(857.0, "11 beats"))
    assert first == "2 leads, 10.0 s at 500 Hz"
    assert second == (
        "Heart rate 71/min (machine) · Heart rate 70/min, RR 857 ms (measured: median of 11 beats) · "
        "PR 160 ms, QTc 431 ms (machine) · axes T 40° (machine)"
    )
    nothing = ECGRecord(np.zeros((2, 5000)), 500, ["I", "II"])
    assert record_lines(nothing, Measured())[1] == "Heart rate not measured: no regular beats were found"


def test_the_patient_is_shown_only_when_asked_for_and_never_by_number():
    record = ECGRecord(np.zeros((2, 5000)), 500, ["I", "II"], METADATA)
    plain = " ".join(record_lines(record, Measured()))
    asked = " ".join(record_lines(record, Measured(), "P-17"))
    assert "93" not in plain
    assert "female" not in plain
    assert "patient P-17, over 89 years, female" in asked
    assert "4711" not in plain + asked


def test_findings_come_with_their_decisions():
    def label(name, score, threshold, present):
        return {"label": name, "score": score, "raw_score": score, "threshold": threshold, "present": present}

    tasks = {
        "rhythm": [label("AFIB", 0.2, 0.5, False), label("SR", 0.9, 0.4, True)],
        "age": [{"label": "age", "value": 61.2, "unit": "years", "lower": 50.0, "upper": 70.0}],
    }
    quality = SignalQuality("ok")
    found = Findings(tasks, quality, ["I"], [], {}, {})
    assert finding_lines(found, {"SR": "sinus rhythm", "AFIB": "AFIB"}.__getitem__) == [
        "Signal quality: ok",
        "Present: SR (sinus rhythm) 0.90 of 0.40",
        "Not present, most probable first: AFIB 0.20 of 0.50",
        "Values: age 61.2 years (50.0 to 70.0)",
    ]
    few = Findings(tasks, quality, ["I"], ["II", "V1"], {}, {})
    assert finding_lines(few, str)[1] == "Missing leads: II, V1; the findings rest on the others"
    unusable = Findings({"rhythm": []}, quality, [], [], {}, {})
    assert finding_lines(unusable, str)[-1] == "Not scored: the signal is unusable."


def test_a_lead_that_was_not_explained_has_no_colour():
    explained = Explained(["II"], np.linspace(-1, 1, 1000)[None], 0.01)
    wash = wash_of(explained, ["I", "II"], 2500, 250, Paper())
    assert not wash[0].any()
    assert wash[1, 0] < -0.9
    assert wash[1, -1] > 0.9
