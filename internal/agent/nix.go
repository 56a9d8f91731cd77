package agent

import (
	"context"
	"errors"
	"net/http"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
)

// startNix starts the job's gateway to a Nix daemon, if it has one. It does not end with ctx: the processes that use it
// end before it does.
func (a *Agent) startNix(ctx context.Context) (end func(), err error) {
	if a.config.Nix == nil {
		return func() {}, nil
	}
	g, err := gateway.New(*a.config.Nix, a.o.Log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := g.Serve(ctx); err != nil {
			a.o.Log.Error("The Nix gateway failed; the job has no Nix any more", "error", err)
		}
	}()
	a.nix = g
	return func() {
		cancel()
		<-served
	}, nil
}

// awaitNix has a stage wait until the job sees what it knows of its Nix store from the beginning. While the daemon is away,
// that takes as long as the gateway waits for it; who asks the agent for something else does not wait.
func (a *Agent) awaitNix(ctx context.Context) {
	if a.nix != nil {
		a.nix.Ready(ctx)
	}
}

// serveNix says what the job has had of its Nix store.
func (a *Agent) serveNix(w http.ResponseWriter, _ *http.Request) {
	if a.nix == nil {
		refuse(w, http.StatusNotFound, errors.New("this agent keeps no gateway to a Nix daemon"))
		return
	}
	u := a.nix.Usage()
	n := wire.Nix{
		Built: wire.NixPaths(u.Built), Substituted: wire.NixPaths(u.Substituted), Reused: wire.NixPaths(u.Reused), Added: wire.NixPaths(u.Added),
		Connections: u.Connections,
	}
	for _, times := range u.Refused {
		n.Refused += times
	}
	answer(w, n)
}
