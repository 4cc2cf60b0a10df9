// Command gotest runs go test with the arguments it is given, prints a line for
// each package and everything about what failed, and ends with the line
// "N passed, N failed". Subtests count. Its exit code is that of go test.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run returns go test's exit code.
func run(args []string) (int, error) {
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	result, err := report(events, os.Stdout)
	if err != nil {
		return 0, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return 0, err
	}
	fmt.Printf("%d passed, %d failed\n", result.passed, result.failed)
	return cmd.ProcessState.ExitCode(), nil
}

// event is a line of go test -json, see go doc test2json. A line about a package
// as a whole has no Test.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

type result struct{ passed, failed int }

// report reads events to their end and writes to out what a person wants to see.
func report(events io.Reader, out io.Writer) (result, error) {
	var sum result
	output := map[string][]string{} // by package and test, of those that have not ended
	failed := map[string]int{}      // tests, by package
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			fmt.Fprintf(out, "%s", line)
			continue
		}
		name := e.Package + " " + e.Test
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			if !strings.HasPrefix(e.Output, "=== ") {
				output[name] = append(output[name], e.Output)
			}
		case "pass", "fail", "skip":
			if e.Test == "" {
				sum.failed += endPackage(out, e, output, failed[e.Package])
				continue
			}
			endTest(out, e, output[name])
			delete(output, name)
			switch e.Action {
			case "pass":
				sum.passed++
			case "fail":
				sum.failed++
				failed[e.Package]++
			}
		}
	}
}

func endTest(out io.Writer, e event, output []string) {
	if e.Action != "pass" {
		fmt.Fprintf(out, "%s.%s:\n%s", e.Package, e.Test, strings.Join(output, ""))
	}
}

// endPackage returns how many failures are to be added: 1 for a package that
// failed although none of its tests did, since it did not build or ended early.
func endPackage(out io.Writer, e event, output map[string][]string, failed int) int {
	own := output[e.Package+" "]
	if e.Action != "fail" {
		// The last line is go test's own: ok, the package, how long it took.
		fmt.Fprint(out, strings.Join(own[max(0, len(own)-1):], ""))
		return 0
	}
	var unfinished []string
	for name := range output {
		if strings.HasPrefix(name, e.Package+" ") && name != e.Package+" " {
			unfinished = append(unfinished, name)
		}
	}
	slices.Sort(unfinished)
	for _, name := range unfinished {
		fmt.Fprintf(out, "%s did not end:\n%s", name, strings.Join(output[name], ""))
	}
	fmt.Fprint(out, strings.Join(own, ""))
	if failed > 0 {
		return 0
	}
	return 1
}
