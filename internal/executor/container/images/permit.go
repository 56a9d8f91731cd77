package images

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

// holder is for whom a pull or an answer of the registry with a login is a proof.
func (w *want) holder(l Login) holder {
	switch {
	case l.empty():
		return holder{anyone: true, name: w.engine.Address.Host}
	case l.payload:
		return holder{name: "payload\x00" + w.Access.Holder}
	default:
		return holder{name: "login\x00" + l.Username + "\x00" + l.Password + "\x00" + l.Token}
	}
}

// permit returns nil when the job may use an image that is present without a pull: everybody may, the
// job's login has opened it a short time ago or opens it now, or nobody's login has brought it.
//
// An image of unknown origin (of the operator, of another program) is asked for like one that the runner
// has pulled itself, but may be used while its registry does not answer: it may never have been there.
func (p *Puller) permit(ctx context.Context, w *want, i *engineapi.Image) error {
	if _, ok := p.Record.age(i.ID, holder{anyone: true, name: w.engine.Address.Host}); ok {
		return nil
	}
	known := p.Record.known(i.ID)
	asks := p.asks(ctx, w, i, known)
	if len(asks) == 0 || !known && p.Record.silent(i.ID) {
		return nil // made here, or of a registry that cannot be asked
	}
	limit := proveTimeout
	if !known {
		limit = foreignTimeout
	}
	var refused error
	silent := false
	for _, a := range asks {
		age, proven := p.Record.age(i.ID, w.holder(a.login))
		if proven && age < freshFor {
			return nil
		}
		err := w.reads(ctx, a.ref, a.login, limit)
		switch {
		case err == nil:
			return p.Record.add(i.ID, w.holder(a.login))
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case engineapi.IsUnreachable(err):
			return err
		}
		refused = errors.Join(refused, err)
		if t := judge(err); t == unreachable || t == busy {
			if !known {
				w.say(usedAnyway, w.Name)
				return p.Record.addSilent(i.ID)
			}
			if proven && age < staleFor {
				w.say(usedAnyway, w.Name)
				return nil
			}
			silent = true
		}
	}
	why := "its registry does not show it to this job"
	reason := job.ReasonConfiguration
	if silent {
		why, reason = "its registry does not answer, and this job has never been shown to have access to it", job.ReasonExternal
	}
	return &executor.Failure{Reason: reason, Err: fmt.Errorf("the image %s is present, but %s: %w", w.Name, why, refused)}
}

const usedAnyway = "The registry of image %s does not answer: the image that is present is used"

// How long a registry may take to answer. Podman tries one that cannot be reached for seven seconds.
const (
	proveTimeout   = 20 * time.Second
	foreignTimeout = 4 * time.Second // for an image of unknown origin
)

// ask is a question to a registry.
type ask struct {
	ref   string
	login Login
}

// asks are the questions that would prove access to a present image: whether the job reads it from the
// repository that it names. One that has no digest there was made or tagged on the machine, and is asked
// for by its other names if the runner has pulled it itself, or if the job names it by its ID.
func (p *Puller) asks(ctx context.Context, w *want, i *engineapi.Image, known bool) []ask {
	var out []ask
	for _, d := range w.digests(i) {
		out = append(out, ask{d, w.login})
	}
	if len(out) == 0 && (known || w.ref.id != "") {
		for _, d := range i.Digests {
			if r, err := Parse(d); err == nil && !r.local() {
				out = append(out, ask{r.Canonical(), p.Keychain.login(ctx, w.Access, r.Repository(), func(string) {})})
			}
		}
	}
	return out[:min(len(out), proveDigests)]
}

// reads asks the registry. Docker hides the refusal of a registry that it takes for insecure behind the
// failure of its second attempt, without TLS; a pull of a tag that nobody has tells the truth, then.
func (w *want) reads(ctx context.Context, ref string, l Login, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := w.engine.Reads(ctx, ref, l.header())
	if err == nil || w.engine.Kind == engineapi.Podman || engineapi.IsUnreachable(err) || judge(err) != unreachable {
		return err
	}
	repository, _, _ := strings.Cut(ref, "@")
	probe := w.engine.Pull(ctx, repository+":skerry-asks-for-access", l.header(), client.ImagePullOptions{}, func(engineapi.Progress) {})
	if probe != nil && judge(probe) != unreachable {
		return probe
	}
	return err
}
