package proc

import (
	"os"
	"time"
)

// MarkVariable is the environment variable that every process of a stage is started with. It finds
// processes that have changed session and lost their parents.
const MarkVariable = "SKERRY_STAGE"

// Group is the processes of one stage: those that Start started, all their descendants, and
// everything below the agent that no other group can claim. Safe for concurrent use.
type Group struct {
	r        *Reaper
	mark     string
	sessions map[int]struct{} // by leader; guarded by r.mu
	left     bool             // guarded by r.mu
	guest    bool             // claims only what it can be shown to have started
}

// NewGroup registers a group. mark is unique to it. Release ends the registration.
func (r *Reaper) NewGroup(mark string) *Group { return r.newGroup(mark, false) }

// NewGuest registers a group beside which another one counts as the only one: what nobody can claim is
// never a guest's.
func (r *Reaper) NewGuest(mark string) *Group { return r.newGroup(mark, true) }

func (r *Reaper) newGroup(mark string, guest bool) *Group {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &Group{r: r, mark: mark, sessions: map[int]struct{}{}, guest: guest}
	r.groups[g] = struct{}{}
	return g
}

// Release forgets the group. With leave its processes stay claimed, so that no other group ends them.
func (g *Group) Release(leave bool) {
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	if leave {
		g.left = true
		return
	}
	delete(g.r.groups, g)
}

// End ends every process of the group: TERM, after grace KILL. It returns when none is left, with
// an error when some survive KILL for ten seconds.
func (g *Group) End(grace time.Duration) error {
	if !g.r.reap() {
		return nil // no children, so no descendants
	}
	return end(g.members, &g.r.asked, grace)
}

// EndAll ends every process below the agent, of all groups, left ones too.
func (r *Reaper) EndAll(grace time.Duration) error {
	return end(func() []info {
		if !r.reap() {
			return nil
		}
		return r.below()
	}, &r.asked, grace)
}

// below lists the agent's descendants without the spared ones and what these started.
func (r *Reaper) below() []info {
	all := scan()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.spared) > 0 {
		for id := range r.spared {
			if p, ok := all[id.pid]; ok && p.identity == id {
				for _, q := range append(descendants(all, id.pid), p) {
					delete(all, q.pid)
				}
			}
		}
	}
	return descendants(all, os.Getpid())
}

// members lists the processes of the group.
func (g *Group) members() []info {
	if !g.r.reap() {
		return nil
	}
	all := g.r.below()
	g.r.mu.Lock()
	defer g.r.mu.Unlock()
	byPID := make(map[int]info, len(all))
	for _, p := range all {
		byPID[p.pid] = p
	}
	alone := !g.guest
	for other := range g.r.groups {
		alone = alone && (other == g || other.guest)
	}
	owners := make(map[int]*Group, len(all))
	var mine []info
	for _, p := range all {
		if o := g.r.owner(byPID, owners, p); o == g || o == nil && alone {
			mine = append(mine, p)
		}
	}
	return mine
}

// owner finds the group of p: by session, by mark, else that of its parent; nil when nobody claims
// it. r.mu is held.
func (r *Reaper) owner(all map[int]info, known map[int]*Group, p info) *Group {
	if o, ok := known[p.pid]; ok {
		return o
	}
	known[p.pid] = nil // a parent chain that changes under us must not loop
	o := r.claimed(p)
	if parent, ok := all[p.ppid]; ok && o == nil {
		o = r.owner(all, known, parent)
	}
	known[p.pid] = o
	return o
}

func (r *Reaper) claimed(p info) *Group {
	for g := range r.groups {
		if _, ok := g.sessions[p.sid]; ok {
			return g
		}
	}
	if m := marked(p.pid, MarkVariable); m != "" {
		for g := range r.groups {
			if g.mark == m {
				return g
			}
		}
	}
	return nil
}
