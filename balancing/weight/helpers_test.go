package weight_test

import (
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

var t0 = time.Unix(1_000_000, 0)

func podName(i int) string { return fmt.Sprintf("pod-%d", i) }

// makePods returns n ready pods of weight 1, or of the given weights.
func makePods(n int, weights ...uint32) []statefulroute.Pod {
	pods := make([]statefulroute.Pod, n)
	for i := range pods {
		pods[i] = statefulroute.Pod{Name: podName(i), Weight: 1}
		if i < len(weights) {
			pods[i].Weight = weights[i]
		}
	}
	return pods
}
