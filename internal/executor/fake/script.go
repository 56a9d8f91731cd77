package fake

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/stage"
)

// Script is what the agents of one environment do. The zero value is two honest agents whose stages
// succeed at once and print nothing.
type Script struct {
	// Prepare is called before the environment is made; its error is Prepare's. Nil makes it at once.
	Prepare func(ctx context.Context, log io.Writer) error
	// HalfMade makes a Prepare that fails leave an environment behind, which somebody has to close.
	HalfMade bool
	// Stages says what a stage does, by its id; Else is for all others. Nil succeeds at once.
	Stages map[string]Action
	Else   Action

	// Started is called between the start of a stage and the answer that it has been started. Nil: one follows the other.
	Started func(id string)

	// What follows are lies. Hello changes what an agent says of itself.
	Hello func(place executor.Place, h *wire.Hello)
	// Intercept answers a request in the agent's stead, and reports whether it did.
	Intercept func(place executor.Place, w http.ResponseWriter, r *http.Request) bool
	// Connection takes every connection in the server's stead; it closes it. It is called in a goroutine of
	// its own and must return when the connection is closed.
	Connection func(place executor.Place, conn net.Conn)
}

// Action is what a stage does. It is called in a goroutine of its own, writes output through s, and
// returns how the stage ended (times that are 0 are filled in). It returns when s.Ended is closed.
type Action func(s *Stage) stage.Result

// Print is an Action that writes text to the standard output and succeeds.
func Print(text string) Action {
	return func(s *Stage) stage.Result {
		s.Write(spool.Stdout, text)
		return stage.Result{}
	}
}

// Exit is an Action that writes text and ends with an exit code.
func Exit(text string, code int) Action {
	return func(s *Stage) stage.Result {
		s.Write(spool.Stdout, text)
		return stage.Result{Reason: stage.Failed, ExitCode: code, Message: "it failed"}
	}
}

// Hold is an Action that tells begun (if not nil) that it runs, waits until release is closed or the stage is ended early,
// and then does what then says.
func Hold(begun chan<- struct{}, release <-chan struct{}, then Action) Action {
	return func(s *Stage) stage.Result {
		if begun != nil {
			begun <- struct{}{}
		}
		select {
		case <-release:
			return then(s)
		case <-s.Ended():
			return s.Early()
		}
	}
}

// Claim is an Action that says res and prints nothing: true or not.
func Claim(res stage.Result) Action { return func(*Stage) stage.Result { return res } }

// Pack is an Action that leaves archives behind and tells the truth about them.
func Pack(archives map[string]string) Action {
	return func(s *Stage) stage.Result {
		var res stage.Result
		for name, content := range archives {
			res.Archives = append(res.Archives, s.Store(name, content))
		}
		return res
	}
}

// Stage is a stage that runs. Its methods may be called from the Action only, but for what says otherwise.
type Stage struct {
	Spec  stage.Spec
	Place executor.Place

	a   *agent
	run *run
}

// Write appends a record to the spool, with the present time. Data longer than a record can be is split.
func (s *Stage) Write(stream spool.Stream, text string) {
	for {
		n := min(len(text), spool.MaxData)
		s.WriteAt(time.Now().UnixMicro(), stream, text[:n])
		if text = text[n:]; text == "" {
			return
		}
	}
}

// WriteAt is Write with a time of the caller's choice, in microseconds.
func (s *Stage) WriteAt(at int64, stream spool.Stream, text string) {
	s.WriteRaw(spool.Append(nil, at, stream, []byte(text)))
}

// Dropped appends the mark for n bytes that were lost.
func (s *Stage) Dropped(n uint64) {
	s.WriteAt(time.Now().UnixMicro(), spool.Dropped, string(binary.BigEndian.AppendUint64(nil, n)))
}

// WriteRaw appends bytes to the spool as they are, whether they are records or not.
func (s *Stage) WriteRaw(b []byte) { s.run.append(b) }

// NoEnd makes the spool go without its End record: it stays open.
func (s *Stage) NoEnd() { s.run.noEnd = true }

// Store puts an archive where the runner fetches it.
func (s *Stage) Store(name, content string) stage.Archive { return s.a.store(name, content) }

// Stored returns what the runner has put there under name.
func (s *Stage) Stored(name string) (string, bool) { return s.a.stored(name) }

// Ended is closed when the runner cancels the stage or the agent ends. It may be called from any goroutine.
func (s *Stage) Ended() <-chan struct{} { return s.run.ended }

// Early is the result of a stage that was ended early, as an honest agent says it.
func (s *Stage) Early() stage.Result {
	reason := s.run.cancelReason()
	return stage.Result{Reason: reason, ExitCode: 143, Message: "ended early"}
}
