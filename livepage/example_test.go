package livepage_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/livepage"
)

func ExamplePage() {
	page, err := livepage.New(livepage.Options{State: func(now time.Time) livepage.State { return livepage.State{Time: now} }})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	page.Register(mux)
	page.Observe(time.Now(), []string{"chat"}, map[string]analysis.ServiceSample{"chat": {}})

	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(answer.Code, answer.Header().Get("Content-Type"))
	// Output: 200 text/html; charset=utf-8
}
