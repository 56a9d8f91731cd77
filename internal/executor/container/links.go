package container

import (
	"context"
	"fmt"

	"gitlab.com/skerry/skerry/internal/agent/netslot"
	"gitlab.com/skerry/skerry/internal/dockeropt"
)

// makeLinks lets the job reach the containers of links: they are connected to its network, and their aliases
// are names there. They stay connected for the next job that has the network.
func (v *environment) makeLinks(ctx context.Context, network *step) error {
	if len(v.e.o.Build.Links) == 0 || v.b.Network != "" {
		return nil
	}
	if err := network.wait(ctx); err != nil {
		return err
	}
	ctx, cancel := whole(ctx)
	defer cancel()
	var ask netslot.Ask
	for _, text := range v.e.o.Build.Links {
		name, alias, err := dockeropt.Link(text)
		if err != nil {
			return byAuthor("links in [runners.docker]: %w", err)
		}
		ip, err := v.engine.Connect(ctx, v.slot.Network, name)
		if err != nil {
			return byAuthor("links in [runners.docker]: %q: %w", text, err)
		}
		line := ip.String() + "\t" + alias
		if alias != name {
			line += " " + name
		}
		ask.Hosts = append(ask.Hosts, line)
	}
	answer, err := v.pool.Up(ctx, v.slot, ask)
	if err != nil {
		return fmt.Errorf("name linked containers: %w", err)
	}
	if answer.Hosts != "" {
		return fmt.Errorf("name linked containers: %s", answer.Hosts)
	}
	return nil
}
