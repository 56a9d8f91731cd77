package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/engine"
	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/status"
)

func newBoard(o Options) *status.Board {
	return status.New(status.Options{SystemID: o.SystemID, Build: status.Build{
		Name: o.Version.Name, Version: o.Version.Version, Revision: o.Version.Revision,
	}})
}

// events tells the board what happens to jobs.
func events(b *status.Board) engine.Events {
	return engine.Events{
		Started: func(s engine.Start) { b.JobStarted(boardJob(s)) },
		Stage:   func(ref string, name job.StageName) { b.StageEntered(ref, name) },
		Ended:   b.JobEnded,
		Over:    b.JobOver,
		Nix:     func(ref string, n wire.Nix) { b.NixUsed(ref, boardNix(n)) },
	}
}

func boardNix(n wire.Nix) status.NixUse {
	paths := func(p wire.NixPaths) status.NixPaths { return status.NixPaths(p) }
	return status.NixUse{
		Built: paths(n.Built), Substituted: paths(n.Substituted), Reused: paths(n.Reused), Added: paths(n.Added), Refused: n.Refused,
	}
}

func boardJob(s engine.Start) status.Job {
	j, r := s.Plan.Job, s.Plan.Runner
	return status.Job{
		Ref: s.Ref, ID: j.ID, Name: j.Name, Project: j.ProjectPath, Adopted: s.Adopted, Queue: j.Queue,
		URL: strings.TrimSuffix(r.URL, "/") + "/" + j.ProjectPath + "/-/jobs/" + strconv.FormatInt(j.ID, 10),
		Runner: status.Runner{
			Key: s.RunnerKey, Token: runnertoken.Short(r.Token), Name: r.Name, Executor: r.Executor,
		},
	}
}

func boardRunner(key string, r *config.Runner) status.Runner {
	return status.Runner{
		Key: key, Token: r.ShortToken(), Name: r.Name, Executor: r.Executor,
		Limit: r.Limit, RequestConcurrency: r.RequestConcurrency,
	}
}

// serveMetrics serves the board on address until stop is called; without an address there is nothing
// to serve and stop does nothing.
func (d *Daemon) serveMetrics(ctx context.Context, address string) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	if !strings.Contains(address, ":") {
		address += ":9252" // GitLab Runner's default port
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen_address %q: %w; it must be host:port of this machine, and free", address, err)
	}
	server := &http.Server{Handler: d.board.Handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("The metrics server ended", "error", err)
		}
	}()
	d.log.Info("Metrics are served", "address", l.Addr())
	return func() {
		_ = server.Close()
		<-served
	}, nil
}
