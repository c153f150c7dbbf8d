package analysis

import (
	"sync"
	"testing"
)

func TestReportsWhileSamplesArrive(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{Historical: true, History: 40}, "chat-0", "chat-1")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.analyzer.Report(noon, "chat")
				c.analyzer.WeightFactor("chat", "chat-1")
				c.analyzer.Open()
			}
		}
	})
	c.pods["chat-1"].errors = 1
	if events := c.run(60); len(events) != 1 {
		t.Errorf("events %+v", events)
	}
	close(stop)
	wg.Wait()
}
