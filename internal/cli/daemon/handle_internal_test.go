package daemon

import (
	"os"
	"syscall"
	"testing"

	"gitlab.com/skerry/skerry/internal/config"
)

// A job that is handed out while its runner is being removed from the configuration is run all the same:
// the coordinator counts on it.
func TestJobOfARunnerThatWasJustRemoved(t *testing.T) {
	b := newBench(t, "")
	c, err := config.Load(b.path, config.Options{Executors: Executors()})
	if err != nil {
		t.Fatal(err)
	}
	id := b.job("true")
	b.set(c)
	var asked *runner
	for _, r := range b.runners {
		asked = r
	}
	answer, err := b.request(t.Context(), asked, "")
	if err != nil || answer.Payload == nil {
		t.Fatalf("request: %+v, %v", answer, err)
	}
	without := *c
	without.Runners = nil
	b.set(&without)
	b.handle(t.Context(), asked.key, answer.Payload, b.poller.Adopt(asked.key, 0))
	b.success(id)
	b.engine.Wait(t.Context())
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// A runner that drains takes no jobs, so /health/ready says so.
func TestDrainingIsNotReady(t *testing.T) {
	b := newBench(t, "")
	b.board.SetReady(true)
	signals, over := make(chan os.Signal), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.followSignals(t.Context(), signals, nil, over, stopping{})
	}()
	signals <- syscall.SIGQUIT
	close(over)
	<-done
	if b.board.Snapshot().Ready {
		t.Error("it is ready")
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
