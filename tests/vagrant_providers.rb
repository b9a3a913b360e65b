# Runs a Vagrantfile with objects that take everything down, the provider blocks too, and checks what the two providers are
# told against Figure 11: each machine on its networks, with the Ethernet addresses that network.sh looks for.
# Called by tests/vagrant.sh; needs Ruby, not Vagrant.

# Takes every call; the blocks given to it are run with more of its kind.
class Taker
  attr_reader :calls

  def initialize
    @calls = []
    @below = Hash.new { |all, name| all[name] = Taker.new }
  end

  def method_missing(name, *arguments, **options, &block)
    @calls << [name, arguments, options, block]
    @below[name]
  end

  def respond_to_missing?(*)
    true
  end
end

module Vagrant
  def self.configure(_version)
    config = Taker.new
    yield config
    config.vm.calls.each do |name, (machine), _, block|
      next unless name == :define
      MACHINES_SEEN[machine] = Taker.new.tap { |taker| block.call(taker) }
    end
  end
end

MACHINES_SEEN = {}
load ARGV.fetch(0)

def told(machine, provider)
  _, _, _, block = machine.vm.calls.find { |name, (which)| name == :provider && which == provider }
  settings, override = Taker.new, Taker.new
  block.call(settings, override)
  [settings.calls, override.vm.calls]
end

EXPECTED = {
  "rt" => (1..5).map { |n| [n, 1] }, "haa" => [[1, 2]], "ai1" => [[2, 2]], "ai2" => [[3, 2]],
  "ar1" => [[4, 2]], "ar2" => [[5, 2]],
}.freeze

abort "machines: #{MACHINES_SEEN.keys}" unless MACHINES_SEEN.keys == EXPECTED.keys
EXPECTED.each do |name, ends|
  machine = MACHINES_SEEN.fetch(name)
  %i[libvirt virtualbox].each do |provider|
    settings, overrides = told(machine, provider)
    networks = overrides.select { |call, (kind)| call == :network && kind == :private_network }.map { |call| call[2] }
    macs = ends.map { |n, host| provider == :libvirt ? format("02:00:00:00:%02x:%02x", n, host) : format("02000000%02x%02x", n, host) }
    names = ends.map { |n, _| "mga-n#{n}" }
    key = provider == :libvirt ? :libvirt__network_name : :virtualbox__intnet
    abort "#{name}, #{provider}: #{networks}" unless networks.map { |n| n[:mac] } == macs &&
      networks.map { |n| n[key] } == names && networks.all? { |n| n[:auto_config] == false && n[:ip] }
    abort "#{name}, #{provider}: no memory" unless settings.any? { |call, (value)| call == :memory= && value.positive? }
  end
  _, _, options, = machine.vm.calls.find { |call, (which)| call == :provision && which == "network" }
  pairs = ends.map { |n, host| format("02:00:00:00:%02x:%02x=2001:db8:0:%x::%x", n, host, n, host) }
  gateway = name == "rt" ? "none" : "2001:db8:0:#{ends[0][0]}::1"
  abort "#{name}: #{options}" unless options[:args] == [gateway, *pairs] && options[:run] == "always"
end
puts "both providers are told Figure 11"
