package adminhttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/stateful-route/stateful-route/adminhttp"
)

func ExampleRegister() {
	mux := http.NewServeMux()
	adminhttp.Register(mux, adminhttp.Options{
		Metrics: http.NotFoundHandler(), // metrics.Monitor has one
		Ready:   func() error { return errors.New("no configuration yet") },
	})
	mux.HandleFunc("GET /api/v1/services", func(w http.ResponseWriter, _ *http.Request) {
		adminhttp.WriteJSON(w, http.StatusOK, []string{"chat"})
	})
	// A process calls adminhttp.Serve(ctx, listener, mux).
	for _, path := range []string{"/healthz", "/readyz", "/api/v1/services"} {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(path, answer.Code)
	}
	// Output:
	// /healthz 200
	// /readyz 503
	// /api/v1/services 200
}
