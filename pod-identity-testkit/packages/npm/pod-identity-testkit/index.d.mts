export interface StartOptions {
  /** The path of a scenario file. */
  scenario?: string;
  /** The program to run. */
  program?: string;
  /** How many milliseconds to wait for the ready line; 30,000 by default. */
  timeout?: number;
}

/** A request that a mock has seen, without secrets. */
export interface RecordedRequest {
  outcome: { status?: number; code?: string | null; access_key_id?: string | null } | null;
  [member: string]: unknown;
}

/** A running mock. */
export interface Mock extends AsyncDisposable {
  readonly ready: Record<string, unknown>;
  readonly endpoint: string;
  /** Undefined for a mock without a pod's token. */
  readonly tokenFile: string | undefined;
  readonly unset: string[];
  readonly env: Record<string, string | undefined>;
  fault(fault: Record<string, unknown>): Promise<void>;
  clearFaults(): Promise<void>;
  /** Adds expectations, which `verify` checks. */
  expect(expectations: Record<string, unknown>): Promise<void>;
  /** Throws if an expectation is not met, or a fault met no request and is not `optional`. */
  verify(): Promise<void>;
  wait(wanted: { requests?: number; answers?: number; idle?: boolean; within?: string }): Promise<void>;
  release(gate: string): Promise<void>;
  requests(): Promise<RecordedRequest[]>;
  rotate(): Promise<void>;
  advance(seconds: number): Promise<void>;
  reset(): Promise<void>;
  close(): Promise<void>;
}

/** Starts a mock in a process of its own, which ends with `close` and with this process. */
export function start(
  kind?: "agent" | "eks" | "webhook",
  args?: string[],
  options?: StartOptions,
): Promise<Mock>;

/** Returns the path of the program in the package for this platform, or undefined without one. */
export function installed(): string | undefined;
