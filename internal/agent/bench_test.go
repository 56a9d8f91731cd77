package agent_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent"
	"gitlab.com/skerry/skerry/internal/agent/client"
	"gitlab.com/skerry/skerry/internal/agent/spool"
)

// BenchmarkOutput is a script's output through pipe, spool, socket and decoder, acknowledged as it comes.
func BenchmarkOutput(b *testing.B) {
	for name, line := range map[string]string{"short": "1234567", "long": "123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 123456789 12345678"} {
		b.Run(name, func(b *testing.B) {
			p := newPlace(b, agent.Config{})
			c := p.client(1)
			const size = 119 << 20
			b.SetBytes(size)
			n := 0
			for b.Loop() {
				n++
				id := fmt.Sprint("s", n)
				p.begin(c, script(id, fmt.Sprintf("yes '%s' | head -c %d", line, size)))
				drain(b, c, id)
			}
		})
	}
}

func drain(b *testing.B, c *client.Client, id string) {
	r, err := c.OpenSpool(b.Context(), id, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	acked := int64(0)
	for d := spool.NewDecoder(r, 0); ; {
		rec, err := d.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		if rec.End()-acked > 4<<20 {
			acked = rec.End()
			if err := c.Ack(b.Context(), id, acked); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkStage is a stage that does nothing: start, result and output over the wire.
func BenchmarkStage(b *testing.B) {
	p := newPlace(b, agent.Config{})
	c := p.client(1)
	n := 0
	for b.Loop() {
		n++
		id := fmt.Sprint("s", n)
		if res := p.run(c, script(id, "true")); res.Reason != "" {
			b.Fatal(res)
		}
		drain(b, c, id)
	}
}

// BenchmarkAgent is an agent's start until it answers, and its end.
func BenchmarkAgent(b *testing.B) {
	for b.Loop() {
		p := newPlace(b, agent.Config{})
		c := p.client(1)
		if _, err := c.Hello(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := c.Shutdown(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
