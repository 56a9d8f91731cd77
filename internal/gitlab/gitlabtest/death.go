package gitlabtest

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// RunnerDied says that the test killed a runner process: until it has been seen once more, one
// repetition of a patch and of a final state is legitimate for every job, for the runner cannot know
// whether the last one arrived. What comes over connections that were made before is the dead runner's.
func (c *Coordinator) RunnerDied() {
	c.acceptAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deaths++
	for _, j := range c.jobs {
		if j.started.IsZero() {
			continue
		}
		j.mayRepeatPatch, j.mayRepeatFinal = true, true
	}
}

// deathsKey is of how many runners had died when the connection of a request was made.
type deathsKey struct{}

// connected notes with a connection how many runners have died before it.
func (c *Coordinator) connected(ctx context.Context, _ net.Conn) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return context.WithValue(ctx, deathsKey{}, c.deaths)
}

// outlived reports whether a request's connection may be one of a runner that has died since. The caller holds mu.
func (c *Coordinator) outlived(r *http.Request) bool {
	deaths, _ := r.Context().Value(deathsKey{}).(int)
	return deaths < c.deaths
}

// acceptAll returns when every connection that has been made by now is accepted, which happens in the order in which they
// are made: one more is made, and what is no request is refused on it.
func (c *Coordinator) acceptAll() {
	const patience = 10 * time.Second
	conn, err := (&net.Dialer{Timeout: patience}).Dial("tcp", c.addr)
	if err != nil { // it is down: nobody has a connection
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "none\r\n\r\n"); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}
