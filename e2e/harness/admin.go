package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// admin is for questions to the admin interfaces, with connections of their own.
var admin = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Body returns what a GET of url answers; anything but 200 is an error.
func Body(url string) (string, error) { return Call(http.MethodGet, url, "") }

// Call returns the body of the answer to a request; a status other than 2xx is
// an error that holds it.
func Call(method, url, body string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := admin.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, strings.TrimSpace(string(b)))
	}
	return string(b), nil
}

// JSON reads the answer of a GET of url into v.
func JSON(url string, v any) error {
	body, err := Body(url)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), v)
}
