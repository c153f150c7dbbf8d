package slowstart_test

import (
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/slowstart"
)

func Example() {
	down := statefulroute.Pod{Name: "chat-0", State: statefulroute.Unhealthy}
	up := statefulroute.Pod{Name: "chat-0"}
	fmt.Println(slowstart.Starts(down, up), slowstart.Starts(up, up))

	half := slowstart.Ramp(float64(15*time.Second), float64(30*time.Second))
	fmt.Printf("%.2f\n", half)
	// Output:
	// true false
	// 0.55
}
