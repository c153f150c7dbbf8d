// Package analysis says what is wrong, with whom, and what to do. An [Analyzer] is
// passed samples and times; it has no clock, goroutine or log:
//
//	analyzer, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{Historical: true})
//	if err != nil {
//		return err
//	}
//	for _, event := range analyzer.Observe(now, sample) {
//		fmt.Println(event.Message) // pod chat-2 answers in 1.8 s (p95 2.4 s), its peers in 200 ms
//	}
package analysis
