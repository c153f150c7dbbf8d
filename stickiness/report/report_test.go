package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/check"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/play"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// rows are one of each: kept, wrong, refused, not for it, failed, absent.
func rows() []Row {
	a := gateway.Adapter{Name: "mine", Description: "Mine", Key: gateway.Key{Kind: gateway.Header, Name: "x"}, Documented: []string{"https://example.org/"}}
	absent := a
	absent.Name = "away"
	result := func(class check.Class, reason string) play.Outcome {
		answer := &pod.Answer{Pod: "pod-0"}
		return play.Outcome{
			Result: check.Result{
				Records: 2, Sessions: 1, Counts: map[check.Class]int{check.Right: 1, class: 1}, Hit: map[check.Class]int{class: 1},
				Reasons: map[check.Class]map[string]int{class: {reason: 1}}, Verdicts: []check.Verdict{{Class: check.Right}, {Class: class, Reason: reason}},
				Unexplained: map[check.Class]int{check.Refused: 1},
			},
			History: history.History{
				Pods:    map[string]history.Pod{"pod-0": {}, "pod-1": {}},
				Marks:   []history.Mark{{Span: history.Span{From: time.Second, Until: 2 * time.Second}, Text: "kill <pod>"}},
				Records: []history.Record{{Session: "s<1>", Answer: answer, Received: time.Second}, {Session: "s<1>", Answer: answer, Received: 3 * time.Second}},
			},
		}
	}
	row := func(name string, o play.Outcome) Row {
		return Row{Adapter: a, Schedule: schedule.Schedule{Name: name}, Seed: 1, Outcome: o}
	}
	out := []Row{
		row("wrong", result(check.WrongPod, "another pod")), row("lost", result(check.LostVisits, "fewer | visits")),
		row("not", play.Outcome{NotFor: "has none"}), row("bad", play.Outcome{Err: errors.New("it\nbroke")}),
	}
	return append(out, Row{Adapter: absent, Schedule: out[0].Schedule, Seed: 1, Absent: "is not installed"})
}

func TestTableSaysEverything(t *testing.T) {
	text := Table(rows())
	for _, want := range []string{
		"| schedule | mine | away |", "| wrong | **1 wrong** (1 sessions), 1 unserved | absent |", "| lost | **1 lost** (1 sessions), 1 unserved |  |",
		"| not | n/a |  |", "| bad | error |  |", "n/a: has none", "error: it; broke", "Absent: is not installed", "<https://example.org/>", "wrong pod: 1× another pod", "fewer / visits",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| ") && strings.Count(line, "|") != 4 && strings.Count(line, "|") != 14 {
			t.Errorf("%d columns: %s", strings.Count(line, "|")-1, line)
		}
	}
}

func TestSeedsStandSideBySide(t *testing.T) {
	two := append(rows()[:1], rows()[0])
	two[1].Seed = 2
	if text := Table(two); !strings.Contains(text, "**1 wrong** (1 sessions), 1 unserved · **1 wrong** (1 sessions), 1 unserved") {
		t.Error(text)
	}
}

func TestJSON(t *testing.T) {
	b, err := JSON(rows())
	if err != nil {
		t.Fatal(err)
	}
	var got []struct {
		Adapter, Schedule, Absent, Error string
		NotApplicable                    string `json:"not_applicable"`
		Kept                             bool
		Result                           *check.Result
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || got[0].Kept || got[0].Result.Counts[check.WrongPod] != 1 || got[2].NotApplicable == "" || got[3].Error == "" || got[4].Absent == "" || got[4].Result != nil {
		t.Errorf("%s", b)
	}
	if Kept(rows()) || !Kept(rows()[2:]) || !Failed(rows()) || Failed(rows()[:3]) {
		t.Error("what was kept, and what failed?")
	}
}

func TestPlotIsXML(t *testing.T) {
	for i, class := range []string{"wrong pod another pod", "lost visits fewer | visits"} {
		svg := Plot(rows()[i])
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in\n%s", err, svg)
			}
		}
		for _, want := range []string{class + " at 3.000 s", "s&lt;1&gt;", "kill &lt;pod&gt;", "pod-1"} {
			if !strings.Contains(svg, want) {
				t.Errorf("no %q in\n%s", want, svg)
			}
		}
	}
}
