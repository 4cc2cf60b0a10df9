package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// sealKeyFile is the file that the seal keys are in, empty where they come from the
// environment or a command.
func sealKeyFile(s *config.Settings) string {
	if s.SealKey.IsZero() {
		return s.Store + ".key"
	}
	return s.SealKey.Path
}

// loadSealKeys reads the keys. The file beside a store is made with the store: a new
// key would not open what is sealed in it.
func loadSealKeys(ctx context.Context, s *config.Settings, store *sqlite.Store) ([][]byte, error) {
	if !s.SealKey.IsZero() {
		keys, err := s.SealKey.Load(ctx)
		if err != nil {
			return nil, &failure{code: exitFailure, err: err, hint: "seal_key must yield one key or several, each of 32 bytes in base64"}
		}
		return keys, nil
	}
	path := sealKeyFile(s)
	sealed, err := ringback.Sealed(ctx, store)
	if err != nil {
		return nil, err
	}
	if !sealed {
		return seal.MakeKeyFile(path)
	}
	keys, err := seal.KeyFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &failure{code: exitFailure, err: fmt.Errorf("%s is missing: the secrets in the store are sealed with it", path),
			hint: "put the file back, or configure the seal_key that the store was made with"}
	}
	return keys, err
}

// sealAnswer is what a gateway says of its keys.
type sealAnswer struct {
	Status ringback.SealStatus `json:"status"`
	Error  string              `json:"error,omitempty"`
}

// answerSeals adds what concerns the seal keys to a gateway's socket.
func answerSeals(mux *http.ServeMux, s *config.Settings, gw *ringback.Gateway) {
	status := func(w http.ResponseWriter, r *http.Request, err error) {
		var a sealAnswer
		if err == nil {
			a.Status, err = gw.SealStatus(r.Context())
		}
		if err != nil {
			a.Error = err.Error()
		}
		_ = json.NewEncoder(w).Encode(a) // who asked sees it cut short
	}
	mux.HandleFunc("GET /seal", func(w http.ResponseWriter, r *http.Request) { status(w, r, nil) })
	mux.HandleFunc("POST /seal/reload", func(w http.ResponseWriter, r *http.Request) {
		source := s.SealKey
		if source.IsZero() {
			source.Path = sealKeyFile(s)
		}
		keys, err := source.Load(r.Context())
		if err == nil {
			err = gw.SetSealKeys(job.WithActor(r.Context(), job.Actor{Kind: job.ActorControl}), keys)
		}
		status(w, r, err)
	})
}

func askSeal(ctx context.Context, store, method, path string) (ringback.SealStatus, error) {
	var a sealAnswer
	resp, err := askControl(ctx, store, method, path, nil)
	if err != nil {
		return a.Status, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	switch {
	case err != nil:
		return a.Status, fmt.Errorf("ask the gateway: %w", err)
	case a.Error != "":
		return a.Status, &failure{code: exitFailure, err: errors.New(a.Error), hint: "the gateway goes on with the keys it has"}
	}
	return a.Status, nil
}

func newSealCmd(c *cli) *cobra.Command {
	return group("seal", "Replace the key that seals the secrets in the store", c.sealStatus(), c.sealRotate(), c.sealReload(), c.sealPrune())
}

func (c *cli) sealStatus() *cobra.Command {
	return atStore(&cobra.Command{
		Use:     "status",
		Short:   "Say how much is sealed with which key",
		Long:    "Say how much is sealed with which key, and whether the old ones may go. The running\ngateway is asked through the socket beside the store.",
		Example: "  ringback seal status --config ringback.yaml",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, s *config.Settings, _ []string) error {
		status, err := askSeal(ctx, s.Store, "GET", "/seal")
		if err != nil {
			return err
		}
		return c.showSeals(status)
	})
}

func (c *cli) showSeals(status ringback.SealStatus) error {
	if c.output != "table" {
		return c.showJSON(status)
	}
	err := c.showTable([]string{"KEY", "SEALS", "VALUES"}, func(yield func([]string) bool) {
		for _, k := range status.Keys {
			if !yield([]string{k.ID, yes(k.Seals), fmt.Sprint(k.Values)}) {
				return
			}
		}
	})
	switch {
	case err != nil:
		return err
	case !status.Done:
		c.say("values are being sealed with the first key; the others are still needed")
	case len(status.Keys) > 1:
		c.say("everything is sealed with the first key; the others may go")
	}
	return nil
}

func (c *cli) sealRotate() *cobra.Command {
	return atStore(&cobra.Command{
		Use:   "rotate",
		Short: "Make a new seal key, and seal everything with it",
		Long: `Make a new key in front of the old one in the key file, and have the running gateway
seal with it: from now on, and everything that is stored, while it works. The old key
opens until "ringback seal prune" removes it.

Where the key comes from the environment or a command, put the new one in front of
the old one there; then "ringback seal reload", or a restart.`,
		Example: "  ringback seal rotate --config ringback.yaml",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, s *config.Settings, _ []string) error {
		path, err := writableKeys(s)
		if err != nil {
			return err
		}
		running := isRunning(s.Store)
		id, err := seal.AddKey(path)
		if err != nil {
			return &failure{code: exitFailure, err: err, hint: "the gateway's user must be able to write the file and its folder"}
		}
		c.say("the new key %s is the first in %s", id, path)
		if !running {
			c.say("no gateway is running: the next start seals everything with it")
			return nil
		}
		status, err := askSeal(ctx, s.Store, "POST", "/seal/reload")
		if err != nil {
			return err
		}
		return c.showSeals(status)
	})
}

func (c *cli) sealReload() *cobra.Command {
	return atStore(&cobra.Command{
		Use:     "reload",
		Short:   "Have the running gateway read its seal keys again",
		Long:    "Have the running gateway read its seal keys again from the file or the command. It\nrefuses keys that do not open what is stored, and goes on with those it has.",
		Example: "  ringback seal reload --config ringback.yaml",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, s *config.Settings, _ []string) error {
		if !s.SealKey.IsZero() && s.SealKey.Path == "" && s.SealKey.Argv == nil {
			return &failure{code: exitUsage, err: errors.New("the seal key stands in the configuration or the environment"),
				hint: "a restart reads it again; file: and command can be read without one"}
		}
		status, err := askSeal(ctx, s.Store, "POST", "/seal/reload")
		if err != nil {
			return err
		}
		return c.showSeals(status)
	})
}

func (c *cli) sealPrune() *cobra.Command {
	return atStore(&cobra.Command{
		Use:   "prune",
		Short: "Remove the seal keys that nothing is sealed with",
		Long: `Remove from the key file the keys that nothing in the store is sealed with any more.
A backup needs the keys of its time: keep them where the backups are not.`,
		Example: "  ringback seal prune --config ringback.yaml",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, s *config.Settings, _ []string) error {
		path, err := writableKeys(s)
		if err != nil {
			return err
		}
		status, err := askSeal(ctx, s.Store, "GET", "/seal")
		if err != nil {
			return err
		}
		if !status.Done {
			return &failure{code: exitRefused, err: errors.New("the old keys are still needed"), hint: `"ringback seal status" says how much is left`}
		}
		gone, err := seal.KeepKeys(path, func(id seal.KeyID) bool {
			// A key that the gateway does not know was added meanwhile.
			return !slices.ContainsFunc(status.Keys, func(k ringback.SealKeyStatus) bool { return k.ID == id.String() && !k.Seals && k.Values == 0 })
		})
		if err != nil {
			return err
		}
		for _, id := range gone {
			c.say("removed the key %s from %s", id, path)
		}
		if len(gone) == 0 {
			c.say("there is nothing to remove")
			return nil
		}
		status, err = askSeal(ctx, s.Store, "POST", "/seal/reload")
		if err != nil {
			return err
		}
		return c.showSeals(status)
	})
}

// writableKeys is the file that the keys are in.
func writableKeys(s *config.Settings) (string, error) {
	if path := sealKeyFile(s); path != "" {
		return path, nil
	}
	return "", &failure{code: exitUsage, err: errors.New("the seal key comes from a command, the environment or the configuration: change it there"),
		hint: `put the new key in front of the old one; then "ringback seal reload", or a restart`}
}

// isRunning tells whether a gateway uses the store.
func isRunning(store string) bool {
	f, err := sqlite.OpenStopped(store)
	if err == nil {
		_ = f.Close()
		return false
	}
	if errors.Is(err, sqlite.ErrLocked) {
		return true
	}
	_, err = os.Stat(controlPath(store))
	return err == nil
}
