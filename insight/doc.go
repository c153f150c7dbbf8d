// Package insight is how Stateful Route is observed: a [Monitor] that counts what
// happened, a [Tracer] that follows one request, and an [Analyzer] that turns
// both into findings a person can act on.
//
// The three are independent. The monitor owns a Prometheus registry of its own
// and hands out one handle per service; a handle's methods cost nanoseconds and
// allocate nothing, so the request path may call them freely:
//
//	monitor, err := insight.NewMonitor(insight.MonitorOptions{Process: "extproc"})
//	if err != nil {
//		return err
//	}
//	http.Handle("/metrics", monitor.Handler())
//
//	chat := monitor.Service("chat")
//	chat.CacheHit()
//	chat.Selected("chat-0", 3*time.Microsecond, true)
//	chat.Request("chat-0", "GET", 200, 18*time.Millisecond, "")
//
// The analyzer is passed samples and times and says what is wrong, with whom, and
// what to do; a [Loop] drives it in a running process:
//
//	analyzer, err := insight.NewAnalyzer(insight.AnalyzerOptions{Historical: true})
//	if err != nil {
//		return err
//	}
//	for _, event := range analyzer.Observe(now, sample) {
//		fmt.Println(event.Message) // pod chat-2 answers in 1.8 s (p95 2.4 s), its peers in 200 ms
//	}
//
// Whatever a client can choose freely (paths, header values, session keys) never
// becomes a label value, and what it can choose in part (the method) is folded
// into a short list, so that no traffic can grow the number of series.
package insight
