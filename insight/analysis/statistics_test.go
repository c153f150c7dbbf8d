package analysis

import (
	"encoding/json"
	"reflect"
	"testing"
)

// The shape is public: a number by metric, and the pods beside them.
func TestStatisticsInJSON(t *testing.T) {
	times := &ResponseTimeStats{Average: .5, P50: .25, P95: 1, P99: 2}
	pod := Averages{{Metric: RequestRate, Value: 7.5}, {Metric: ResponseTime, Value: .5, Times: times}}
	for text, s := range map[string]ServiceStatistics{
		`{"request_rate":7.5,"response_time_seconds":{"average":0.5,"p50":0.25,"p95":1,"p99":2},"pods":{"chat-0":{"request_rate":7.5,"response_time_seconds":{"average":0.5,"p50":0.25,"p95":1,"p99":2}}}}`: {
			Averages: pod, Pods: map[string]Averages{"chat-0": pod},
		},
		`{"error_rate":0,"pods":{"chat-0":{}}}`: {
			Averages: Averages{{Metric: ErrorRate}}, Pods: map[string]Averages{"chat-0": {}},
		},
		`{"pods":{}}`: {Averages: Averages{}, Pods: map[string]Averages{}},
	} {
		got, err := json.Marshal(s)
		if err != nil || string(got) != text {
			t.Errorf("%s, %v, want %s", got, err, text)
		}
		var back ServiceStatistics
		if err := json.Unmarshal([]byte(text), &back); err != nil || !reflect.DeepEqual(back, s) {
			t.Errorf("%s is read as %+v, %v", text, back, err)
		}
	}
}

// What a newer xds-server says is no reason not to understand the rest.
func TestStatisticsOfANewerProgramAreRead(t *testing.T) {
	var s ServiceStatistics
	if err := json.Unmarshal([]byte(`{"mood":"good","cpu_usage":0.5,"pods":{"chat-0":{"mood":"bad"}}}`), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Averages) != 1 || s.of(CPUUsage).Value != .5 || len(s.Pods["chat-0"]) != 0 {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{`[]`, `{"cpu_usage":"much"}`, `{"response_time_seconds":1}`, `{"pods":{"chat-0":7}}`} {
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
