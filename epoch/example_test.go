package epoch_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/stateful-route/stateful-route/epoch"
)

func ExampleHandler() {
	app := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") })
	handler, err := epoch.Handler(app, epoch.Options{
		Key: func(r *http.Request) string { return r.Header.Get("X-Session-Id") },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range []string{"1800000000000", "1800000000007", "1800000000000"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Session-Id", "user-1")
		r.Header.Set(epoch.Header, e)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(e, w.Code)
	}
	// Output:
	// 1800000000000 200
	// 1800000000007 200
	// 1800000000000 421
}
