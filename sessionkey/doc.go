// Package sessionkey knows the places in which requests and responses name
// sessions: headers, cookies, query parameters, paths, claims of tokens. It is pure,
// and all that knows one kind of place from another; the configuration asks it what
// a kind takes, xds-server what Envoy has to forward for a source, and extproc
// what a request carries there:
//
//	keys, err := sessionkey.NewReader(service.Session.Key)
//	candidates, source := keys.Keys(headers) // of the first source that has one
//
// One rule holds for all places: a value is decoded as the place has it encoded (a
// token's claim as JSON, a query as forms are, all else by percent-decoding), and is
// then compared byte by byte. One that does not decode is taken as it is.
//
// Another kind of source is a file with a [Source], and a row in [kinds].
package sessionkey
