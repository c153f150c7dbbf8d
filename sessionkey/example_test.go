package sessionkey_test

import (
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// The first source that a request has wins.
func ExampleReader_Keys() {
	keys, err := sessionkey.NewReader([]statefulroute.SessionSource{
		{Kind: statefulroute.FromHeader, Name: "X-Session-ID"},
		{Kind: statefulroute.FromPath, Name: "^/rooms/([^/]+)"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	candidates, source := keys.Keys(sessionkey.Headers{{Key: ":path", Value: "/rooms/blue%20one?x=y"}})
	fmt.Printf("%q of source %d, from %q\n", candidates, source, keys.RequestHeaders())
	// Output: ["blue one"] of source 1, from ["x-session-id" ":path"]
}

// A response names a session by a header or a cookie.
func ExampleReader_Learned() {
	learn, err := sessionkey.NewReader([]statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: "JSESSIONID"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ids, _ := learn.Learned(sessionkey.Headers{{Key: "set-cookie", Value: "JSESSIONID=4711; Path=/; HttpOnly"}}, time.Now())
	fmt.Println(ids)
	// Output: [4711]
}

// A pod that repeats an id which its request carried has not created that session.
func ExampleReader_Carried() {
	keys, err := sessionkey.NewReader([]statefulroute.SessionSource{{Kind: statefulroute.FromQuery, Name: "session"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	carried := keys.Carried(sessionkey.Headers{{Key: ":path", Value: "/?session=a-1&session=b-2"}})
	fmt.Println(carried.Names("B2"), carried.Names("c-3"))
	// Output: true false
}

// The configuration asks what a kind takes, and has faults named.
func ExampleOpen() {
	fmt.Println(sessionkey.Kinds(), sessionkey.Params(sessionkey.FromJWT))
	sessionkey.Open(statefulroute.SessionSource{Kind: sessionkey.FromJWT, Params: map[string]string{"header": "authorization"}},
		func(param, reason string) { fmt.Println(param, reason) })
	// Output:
	// [header cookie query path jwt] [header claim]
	// claim is needed: the claim whose value is the session key
}
