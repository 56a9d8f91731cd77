package main

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// silent is a server that never answers.
type silent struct {
	server *http.Server
	done   chan struct{}
	wg     sync.WaitGroup
}

func newSilent() *silent {
	s := &silent{done: make(chan struct{})}
	s.server = &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-s.done:
		case <-r.Context().Done():
		}
	})}
	return s
}

// listen serves on a free port and returns the URL.
func (s *silent) listen(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.wg.Go(func() { _ = s.server.Serve(l) })
	return "http://" + l.Addr().String(), nil
}

func (s *silent) close() {
	close(s.done)
	_ = s.server.Close()
	s.wg.Wait()
}
