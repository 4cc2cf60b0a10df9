package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

// progressBytes is the size from which an upload shows its progress.
const progressBytes = 1 << 20

// callWait is what a call with --wait asks the gateway to hold its answer for.
const callWait = 10 * time.Second

func newCallCmd(c *cli) *cobra.Command {
	var call client.Call
	var data string
	var headers []string
	var wait bool
	cmd := &cobra.Command{
		Use:   "call [METHOD] PATH [@FILE]",
		Short: "Call an operation",
		Long: `Call an operation. The answer is the job; with --wait it is the result, once
there is one.

The request's body is a file (@FILE, or @- for standard input) or a text (--data).
Without --callback-url and --callback the callback goes to the app's default
endpoint, if it has one.`,
		Example: `  ringback call /scan @invoice.pdf --callback-url https://my.server/bar
  ringback call /scan @invoice.pdf --wait
  ringback call PUT /reports/sales --data '{"year": 2026}' --callback shop`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if call.CallbackURL != "" && call.Endpoint != "" {
				return usagef("the callback goes to --callback-url or to --callback, not to both")
			}
			file, err := callArgs(&call, args, data)
			if err != nil {
				return err
			}
			if call.Header, err = headerOf(headers); err != nil {
				return err
			}
			up, err := c.openUpload(file, data)
			if err != nil {
				return err
			}
			if call.ContentType == "" && call.Header.Get("Content-Type") == "" {
				call.ContentType = up.contentType
			}
			return c.call(cmd.Context(), call, up, wait)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&data, "data", "d", "", "the body as text, @FILE or @- for standard input")
	f.StringVarP(&call.ContentType, "type", "t", "", "the body's content type (default: by the file's name, else a guess)")
	f.StringArrayVarP(&headers, "header", "H", nil, `a further header, "Name: value"; may be repeated`)
	f.StringVar(&call.CallbackURL, "callback-url", "", "where to call back")
	f.StringVar(&call.Endpoint, "callback", "", "the name of the endpoint to call back; several with commas between them")
	f.StringVar(&call.CallbackMethod, "callback-method", "", "the method of the callback, where the operation leaves it to you")
	f.StringVar(&call.CallbackFormat, "callback-format", "", "the form of the callback, where the operation leaves it to you")
	f.StringSliceVar(&call.Events, "events", nil, "the events to call back for: accepted,running,progress,succeeded,failed,canceled,expired; the last four if not given")
	f.StringVar(&call.State, "state", "", "a text that comes back with the callback")
	scheduleFlags(f, &call.Schedule)
	f.StringVar(&call.IdempotencyKey, "idempotency-key", "", "makes a repeated call answer with the first one's job")
	f.BoolVarP(&wait, "wait", "w", false, "wait for the result and print it")
	return cmd
}

// callArgs sorts [METHOD] PATH [@FILE] and --data; file is the body's, empty for
// none, "-" for standard input.
func callArgs(call *client.Call, args []string, data string) (file string, err error) {
	if args[0] != "" && strings.Trim(args[0], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		call.Method, args = args[0], args[1:]
	}
	if len(args) == 0 {
		return "", usagef("the operation's path is missing")
	}
	call.Path, args = "/"+strings.TrimPrefix(args[0], "/"), args[1:]
	if strings.Contains(call.Path, "://") {
		return "", usagef("PATH is the operation's path, such as /scan; --url names the gateway")
	}
	switch {
	case len(args) > 1 || len(args) == 1 && !strings.HasPrefix(args[0], "@"):
		return "", &failure{code: exitUsage, err: errors.New("behind the path stands @FILE or nothing"), hint: "a text is given with --data"}
	case len(args) == 1 && data != "":
		return "", usagef("the body is @FILE or --data, not both")
	case len(args) == 1:
		data = args[0]
	}
	if name, ok := strings.CutPrefix(data, "@"); ok {
		if name == "" {
			return "", usagef("the file's name is missing behind @")
		}
		return name, nil
	}
	return "", nil
}

// headerOf reads lines of the form "Name: value".
func headerOf(lines []string) (http.Header, error) {
	header := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, usagef(`--header takes "Name: value"`)
		}
		header.Add(name, strings.TrimSpace(value))
	}
	return header, nil
}

// upload is a request's body.
type upload struct {
	body        io.Reader // nil for none
	bytes       int64     // 0: unknown
	contentType string
	file        *os.File
	bar         *progressbar.ProgressBar
}

// close ends the progress bar and closes the file, if there are such.
func (u *upload) close() {
	if u.bar != nil {
		// A refused body may still be read from for a moment: Exit keeps that from
		// being drawn over what comes next.
		_ = errors.Join(u.bar.Exit(), u.bar.Clear())
	}
	if u.file != nil {
		_ = u.file.Close() // it was only read
	}
}

// openUpload opens the named file, or takes the text.
func (c *cli) openUpload(file, text string) (*upload, error) {
	switch {
	case file == "-":
		return &upload{body: c.in, contentType: "application/octet-stream"}, nil
	case file != "":
		return c.openFile(file)
	case text == "":
		return &upload{}, nil
	case json.Valid([]byte(text)):
		return &upload{body: strings.NewReader(text), contentType: "application/json"}, nil
	}
	return &upload{body: strings.NewReader(text), contentType: "text/plain; charset=utf-8"}, nil
}

func (c *cli) openFile(name string) (*upload, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("%w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", name)
	}
	if err != nil {
		_ = f.Close()
		return nil, usagef("%w", err)
	}
	u := &upload{body: f, file: f, contentType: mime.TypeByExtension(filepath.Ext(name))}
	if u.contentType == "" {
		u.contentType = "application/octet-stream"
	}
	if !info.Mode().IsRegular() {
		return u, nil
	}
	u.bytes = info.Size()
	switch {
	case u.bytes == 0:
		// With a reader net/http would send it in chunks, not knowing that it is empty.
		u.body = nil
	case u.bytes >= progressBytes && c.errTTY:
		u.bar = progressbar.NewOptions64(u.bytes, progressbar.OptionSetWriter(c.err),
			progressbar.OptionSetDescription("uploading"), progressbar.OptionShowBytes(true),
			progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
		u.body = io.TeeReader(f, u.bar)
	}
	return u, nil
}

// call makes the call, closes what was to be uploaded, and shows the answer.
func (c *cli) call(ctx context.Context, call client.Call, up *upload, wait bool) error {
	gw, err := c.gateway()
	if err != nil {
		up.close()
		return err
	}
	call.Body, call.BodyBytes = up.body, up.bytes
	if wait {
		call.Wait = callWait
	}
	answer, err := gw.Call(ctx, call)
	up.close()
	if p, ok := errors.AsType[*client.Problem](err); ok && p.JobID != "" {
		return c.waitForResult(ctx, gw, p.JobID) // which says why there is none
	}
	if err != nil {
		return err
	}
	if answer.Result != nil {
		defer answer.Result.Body.Close()
		return c.copy(answer.Result.Body)
	}
	job := answer.Job
	if !wait {
		f := fields{
			{"id", job.ID},
			{"operation", job.Operation},
			{"status", job.Status},
			{"callback", job.Callback.URL},
			{"endpoint", job.Callback.Endpoint},
			{"chosen by", job.Callback.Source},
		}
		return c.show(job, append(append(f, furtherFields(job.Destinations)...), [2]string{"job", job.Links.Self}))
	}
	c.say("%s is %s, waiting for its end", job.ID, job.Status)
	return c.waitForResult(ctx, gw, job.ID)
}

// furtherFields are the destinations of a job's callbacks behind the first.
func furtherFields(destinations []client.JobCallback) (f fields) {
	for _, d := range destinations[min(1, len(destinations)):] {
		text := cmp.Or(d.URL, d.Endpoint)
		if len(d.Events) > 0 {
			text += " (" + strings.Join(d.Events, ", ") + ")"
		}
		f = append(f, [2]string{"also", text})
	}
	return f
}

// waitForResult waits for a job's end and writes its result.
func (c *cli) waitForResult(ctx context.Context, gw *client.Client, id string) error {
	job, err := gw.WaitJob(ctx, id)
	if err != nil {
		return err
	}
	return c.writeResult(ctx, gw, job)
}

// writeResult writes the result of a job that has one, and else says why not.
func (c *cli) writeResult(ctx context.Context, gw *client.Client, job *client.Job) error {
	if job.Terminal() && job.Status != client.StatusSucceeded {
		return noResult(job)
	}
	result, err := gw.Result(ctx, job.ID)
	if err != nil {
		return err
	}
	if result == nil {
		return &failure{code: exitNoResult, err: fmt.Errorf("%s is %s, so it has no result yet", job.ID, job.Status),
			hint: "--wait waits for it"}
	}
	defer result.Body.Close()
	return c.copy(result.Body)
}

func noResult(job *client.Job) error {
	f := &failure{code: exitNoResult, err: errors.New(job.ID + " has " + job.Status)}
	switch job.Status {
	case client.StatusCanceled:
		f.err = errors.New(job.ID + " was canceled")
	case client.StatusExpired:
		f.err = errors.New(job.ID + " has expired: its deadline came first")
	}
	if e := job.Error; e != nil {
		f.err = fmt.Errorf("%w: %s: %s", f.err, e.Code, e.Message)
		f.detail = e.Detail
	}
	return f
}
