package pod

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/websocket"
)

// EveryHeader is how often an event stream is to tell something, a duration.
const EveryHeader = "Stickiness-Every"

// events counts a visit now and then, each with the request's nonce and a number.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	every, err := time.ParseDuration(r.Header.Get(EveryHeader))
	if err != nil || every <= 0 {
		http.Error(w, EveryHeader+": want a duration", http.StatusBadRequest)
		return
	}
	key := s.teach(w.Header(), r)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		b, err := json.Marshal(s.answer(r, key, EventNonce(r.Header.Get(NonceHeader), n)))
		if err != nil {
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", b); err != nil || flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-ticker.C:
		}
	}
}

// EventNonce is the nonce of the n-th event of a stream.
func EventNonce(request string, n int) string { return request + "." + strconv.Itoa(n) }

// socket answers every message, which is a nonce.
func (s *server) socket(conn *websocket.Conn) {
	// The handshake's response is gone: there is no teaching by a WebSocket.
	key := s.teach(http.Header{}, conn.Request())
	for {
		var nonce string
		if err := websocket.Message.Receive(conn, &nonce); err != nil {
			return
		}
		if err := websocket.JSON.Send(conn, s.answer(conn.Request(), key, nonce)); err != nil {
			return
		}
	}
}

// talk does the same in the framing of gRPC.
func (s *server) talk(w http.ResponseWriter, r *http.Request) {
	key := s.teach(w.Header(), r)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	flush := http.NewResponseController(w)
	if flush.Flush() != nil {
		return
	}
	for {
		nonce, err := ReadFrame(r.Body)
		if err != nil {
			w.Header().Set("Grpc-Status", "0")
			return
		}
		b, err := json.Marshal(s.answer(r, key, string(nonce)))
		if err != nil {
			return
		}
		if _, err := w.Write(Frame(b)); err != nil || flush.Flush() != nil {
			return
		}
	}
}

// Frame is a gRPC message: not compressed, its length, itself.
func Frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// ReadFrame reads what Frame made.
func ReadFrame(r io.Reader) ([]byte, error) {
	const most = 1 << 16
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != 0 || n > most {
		return nil, errors.New("gRPC message: compressed or too long")
	}
	message := make([]byte, n)
	_, err := io.ReadFull(r, message)
	return message, err
}
