package daemon

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// formerFor is how long an engine is remembered that the configuration does not name any more.
const formerFor = 100 * 24 * time.Hour

// usedEngines remembers the container engines that jobs may have been given to, so that what is left there goes although
// the configuration does not name them any more. It is safe for concurrent use.
type usedEngines struct {
	path string
	now  func() time.Time
	log  *slog.Logger

	mu   sync.Mutex
	read bool
	list []usedEngine
}

type usedEngine struct {
	engineapi.Address

	Used time.Time `json:"used"`
}

// note remembers an engine that jobs are about to be asked for.
func (u *usedEngines) note(a engineapi.Address) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open()
	now := u.now()
	at := slices.IndexFunc(u.list, func(e usedEngine) bool { return e.Address == a })
	if at >= 0 && now.Sub(u.list[at].Used) < formerFor/100 {
		return
	}
	if at < 0 {
		u.list = append(u.list, usedEngine{Address: a})
		at = len(u.list) - 1
	}
	u.list[at].Used = now
	u.list = slices.DeleteFunc(u.list, func(e usedEngine) bool { return now.Sub(e.Used) > formerFor })
	if err := u.write(); err != nil {
		u.log.Warn("The container engines that jobs use cannot be remembered: what is left there when the configuration changes stays", "error", err)
	}
}

// besides are the engines that are remembered and not among known.
func (u *usedEngines) besides(known map[engineapi.Address]bool) (former []engineapi.Address) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open()
	for _, e := range u.list {
		if !known[e.Address] && u.now().Sub(e.Used) <= formerFor {
			former = append(former, e.Address)
		}
	}
	return former
}

// open reads the file once. One that cannot be read is begun anew. The caller holds mu.
func (u *usedEngines) open() {
	if u.read {
		return
	}
	u.read = true
	raw, err := os.ReadFile(u.path)
	if err == nil {
		err = json.Unmarshal(raw, &u.list)
	}
	if err != nil && !os.IsNotExist(err) {
		u.list = nil
		u.log.Warn("It is not known any more which container engines earlier configurations named", "error", err)
	}
}

func (u *usedEngines) write() error {
	raw, err := json.Marshal(u.list)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(u.path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(u.path+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(u.path+".new", u.path)
	}
	if err != nil {
		return fmt.Errorf("write the record of container engines: %w", err)
	}
	return nil
}

// formerRunner stands for the entries of an engine that the configuration names no more.
func formerRunner(a engineapi.Address) *config.Runner {
	return &config.Runner{
		Name: "a former one of " + a.Host, Executor: executorDocker,
		Docker: &config.Docker{Host: a.Host, TLSCertPath: a.CertPath, TLSVerify: a.Verify},
	}
}
